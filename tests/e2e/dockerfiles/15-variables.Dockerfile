FROM busybox
ARG NAME=archive.tar.gz
ARG EMPTY=
ENV SHORT=${NAME%%.*} EXT=${NAME#*.} LAST=${NAME##*.} SWAP=${NAME/tar/zip} ALL=${NAME//a/A} \
    DEF=${EMPTY:-def} KEPT=${EMPTY-def} ALT=${NAME:+alt} NONE=${UNSET+alt}
CMD echo "$SHORT $EXT $LAST $SWAP $ALL $DEF [$KEPT] $ALT [$NONE]"
# expect: archive tar.gz gz archive.zip.gz Archive.tAr.gz def [] alt []
