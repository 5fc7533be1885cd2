# escape=`
FROM busybox
RUN echo 'C:\dir' > /path && `
    echo second >> /path
CMD ["cat", "/path"]
# expect: C:\dir
# expect: second
