FROM busybox
RUNN echo hi
# fails: unknown instruction: RUNN
