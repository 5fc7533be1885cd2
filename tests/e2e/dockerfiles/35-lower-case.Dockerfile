from busybox as tools
run echo quiet > /q
from tools
copy --from=tools /q /again
cmd ["cat", "/again"]
# expect: quiet
