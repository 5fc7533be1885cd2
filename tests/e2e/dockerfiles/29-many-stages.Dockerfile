FROM busybox AS s1
RUN echo 1 > /n
FROM busybox AS s2
RUN echo 2 > /n
FROM busybox AS s3
RUN echo 3 > /n
FROM busybox AS s4
RUN echo 4 > /n
FROM scratch AS all
COPY --from=s1 /n /n1
COPY --from=s2 /n /n2
COPY --from=s3 /n /n3
COPY --from=3 /n /n4
FROM busybox
COPY --from=all / /all/
CMD ["sh", "-c", "cat /all/*"]
# expect: 1
# expect: 2
# expect: 3
# expect: 4
