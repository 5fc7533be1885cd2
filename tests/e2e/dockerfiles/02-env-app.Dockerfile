FROM busybox
ENV NAME=images APP_HOME=/srv/app
WORKDIR $APP_HOME
COPY src .
ENTRYPOINT ["/bin/sh"]
CMD ["main.sh"]
# expect: hello images
