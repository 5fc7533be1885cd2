FROM busybox
COPY requirements.txt /app/
# fails: stat requirements.txt: file does not exist
