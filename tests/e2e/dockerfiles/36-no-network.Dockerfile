# args: --network host
FROM busybox
RUN --network=none ip -o link | wc -l > /links
RUN --network=host true
CMD ["cat", "/links"]
# expect: 1
