FROM busybox
COPY --parents src/lib/*.sh conf.d/./10-first.conf /tree/
COPY --exclude=*.conf --exclude=lib conf.d /less/
CMD ["sh", "-c", "cd /tree && find . -type f | sort; ls /less"]
# expect: ./10-first.conf
# expect: ./src/lib/greet.sh
# expect: README
