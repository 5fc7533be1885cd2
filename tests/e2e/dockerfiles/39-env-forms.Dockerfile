FROM busybox
ENV LEGACY one two   three
ENV QUOTED="a b" SINGLE='$LEGACY' ESCAPED=x\ y SAME_LINE=${QUOTED:-none}
ENV NESTED=${MISSING:-${QUOTED}}
ENV SUFFIX=archive.tar.gz
ENV STEM=${SUFFIX%%.*} LAST=${SUFFIX##*.} SWAPPED=${SUFFIX/tar/zip} ALL=${SUFFIX//a/A}
RUN echo "$LEGACY|$QUOTED|$SINGLE|$ESCAPED|$SAME_LINE|$NESTED" > /seen && echo "$STEM $LAST $SWAPPED $ALL" >> /seen
# run: cat /seen
# expect: one two   three|a b|$LEGACY|x y|none|a b
# expect: archive gz archive.zip.gz Archive.tAr.gz
