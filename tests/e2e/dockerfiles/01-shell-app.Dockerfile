FROM busybox
WORKDIR /app
COPY src/ ./
CMD ["./main.sh"]
# expect: hello world
