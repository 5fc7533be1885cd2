RUN echo too early
# fails: no build stage in current context
