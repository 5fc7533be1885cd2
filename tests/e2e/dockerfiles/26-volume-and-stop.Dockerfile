FROM busybox
RUN mkdir /data && echo seeded > /data/seed
VOLUME ["/data", "/cache"]
STOPSIGNAL SIGQUIT
CMD ["sh", "-c", "cat /data/seed; mount | grep -c -e ' /data ' -e ' /cache '"]
# expect: seeded
# expect: 2
