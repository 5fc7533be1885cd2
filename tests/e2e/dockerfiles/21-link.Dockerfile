FROM busybox AS one
RUN echo 1 > /one
FROM busybox
COPY --link --from=one /one /parts/
COPY --link index.html /parts/
CMD ["ls", "/parts"]
# expect: index.html
# expect: one
