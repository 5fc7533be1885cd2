FROM busybox AS tools
FROM scratch
COPY --from=tools /bin/busybox /bin/busybox
COPY index.html /
ENTRYPOINT ["/bin/busybox"]
CMD ["ls", "-1", "/"]
# run: cat /index.html
# expect: <h1>site</h1>
