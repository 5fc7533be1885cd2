FROM busybox
ARG TOKEN
ENV VALUE="${TOKEN:?give a token}"
# fails: give a token
