#!/bin/sh
. "$(dirname "$0")/lib/greet.sh"
greet "${NAME:-world}"
