# syntax=docker/dockerfile:1
# check=skip=JSONArgsRecommended;error=true

FROM busybox
WORKDIR /app
COPY package.txt .
CMD wc -l < package.txt | tr -d ' '
# run: wc -l < /app/package.txt | wc -w | tr -d ' '
# expect: 1
