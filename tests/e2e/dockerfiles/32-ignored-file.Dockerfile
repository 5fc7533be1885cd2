FROM busybox
COPY src/debug.log /app/
# fails: file not found in build context or excluded by .dockerignore
