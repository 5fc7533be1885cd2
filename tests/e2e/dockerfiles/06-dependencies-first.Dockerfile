# Dependencies before sources, so that a change of the sources does not fetch them again.
FROM busybox AS deps
WORKDIR /app
COPY package.txt .
RUN --mount=type=cache,target=/root/.packages sh -c 'while read name version; do echo "$name@$version" | tee -a /root/.packages/$name >> installed; done < package.txt'
FROM deps AS app
COPY src src
RUN wc -l < installed > count
CMD ["sh", "-c", "cat installed count"]
# expect: left@1.0
# expect: right@2.0
# expect: 2
