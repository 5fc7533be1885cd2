FROM busybox
RUN mkdir -p /a/b && echo 1 > /a/b/x && echo 2 > /a/y
RUN rm -r /a/b && mkdir /a/b && echo new > /a/b/z
RUN rm /a/y && ln -s b/z /a/y
CMD ["sh", "-c", "find /a | sort; cat /a/y"]
# expect: /a
# expect: /a/b
# expect: /a/b/z
# expect: /a/y
# expect: new
