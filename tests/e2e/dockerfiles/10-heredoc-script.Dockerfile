# syntax=docker/dockerfile:1
FROM busybox
RUN <<EOF
set -e
mkdir -p /opt/tool
for n in 1 2 3; do
  echo "line $n" >> /opt/tool/lines
done
EOF
CMD ["cat", "/opt/tool/lines"]
# expect: line 1
# expect: line 2
# expect: line 3
