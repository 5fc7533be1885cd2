FROM busybox
RUN ["/bin/sh", "-c", "echo '$HOME' > /exec"]
RUN echo $HOME > /shell
ENTRYPOINT ["cat"]
CMD ["/exec", "/shell"]
# expect: $HOME
# expect: /root
