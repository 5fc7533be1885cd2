#!/bin/sh
set -e
if [ "$1" = serve ]; then shift; exec echo "serving $*"; fi
exec "$@"
