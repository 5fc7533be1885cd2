FROM busybox
COPY index.html /var/www/
EXPOSE 80
HEALTHCHECK --interval=30s --timeout=3s CMD wget -q -O /dev/null http://127.0.0.1/ || exit 1
CMD ["httpd", "-f", "-h", "/var/www"]
# run: cat /var/www/index.html
# expect: <h1>site</h1>
