FROM busybox
RUN echo app:x:1500: >> /etc/group && echo app:x:1500:1500::/data:/bin/sh >> /etc/passwd
WORKDIR /data
COPY --chown=app:app package.txt .
COPY --chown=1500:0 --chmod=0600 index.html secret.html
RUN chown app /data
USER app:app
RUN touch mine
CMD ["sh", "-c", "id -un; stat -c '%U:%G %a %n' package.txt secret.html mine"]
# expect: app
# expect: app:app 644 package.txt
# expect: app:root 600 secret.html
# expect: app:app 644 mine
