FROM busybox
SHELL ["/bin/sh", "-eu", "-c"]
RUN echo "$0" | grep -q sh && echo strict > /mode
RUN if (echo $UNSET_VARIABLE) 2>/dev/null; then exit 3; fi
CMD cat /mode
# expect: strict
