FROM busybox
WORKDIR /app
COPY package.txt yarn.lock* ./
COPY nothing-like-this* ./
CMD ["ls"]
# run: ls
# expect: package.txt
