FROM busybox
ARG PORT=8080
COPY <<nginx.conf <<"raw.conf" /etc/app/
listen ${PORT};
nginx.conf
host $host;
raw.conf
COPY <<-EOF /etc/motd
	welcome
	to the image
EOF
CMD ["sh", "-c", "cat /etc/app/nginx.conf /etc/app/raw.conf /etc/motd"]
# expect: listen 8080;
# expect: host $host;
# expect: welcome
# expect: to the image
