FROM busybox
# A comment between, an empty line inside, and a blank behind the backslash.
RUN echo one > /list && \
    # not a part of the command
    echo two >> /list && \

    echo three >> /list
ENV A=1 \
    B="two words" \
    C=esc\ aped
CMD ["sh", "-c", "cat /list; echo $A-$B-$C"]
# expect: one
# expect: two
# expect: three
# expect: 1-two words-esc aped
