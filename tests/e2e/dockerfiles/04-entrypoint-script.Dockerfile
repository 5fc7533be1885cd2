FROM busybox
COPY entrypoint.sh /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/entrypoint.sh"]
CMD ["serve", "by", "default"]
# expect: serving by default
