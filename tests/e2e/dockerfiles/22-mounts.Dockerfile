FROM busybox AS other
RUN echo from the stage > /file
FROM busybox
RUN --mount=type=bind,target=/ctx,source=src --mount=type=bind,from=other,target=/other \
    --mount=type=tmpfs,target=/scratch,size=1m \
    cat /other/file /ctx/lib/greet.sh > /out && touch /scratch/x && ! touch /ctx/x 2>/dev/null
CMD ["sh", "-c", "cat /out; ls -d /ctx /scratch 2>/dev/null || true"]
# expect: from the stage
# expect: greet() { echo "hello $1"; }
