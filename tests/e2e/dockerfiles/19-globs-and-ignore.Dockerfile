FROM busybox
COPY conf.d/*.conf /etc/conf/
# The docker CLI adds the name of a Dockerfile from elsewhere to this file.
COPY --exclude=.dockerignore . /all
CMD ["sh", "-c", "ls /etc/conf; ls /all/docs /all/src; ls -d /all/node_modules 2>/dev/null; true"]
# expect: 10-first.conf
# expect: 20-second.conf
# expect: /all/docs:
# expect: keep.md
# expect:
# expect: /all/src:
# expect: lib
# expect: main.sh
