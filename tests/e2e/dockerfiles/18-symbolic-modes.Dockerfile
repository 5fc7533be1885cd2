FROM busybox
COPY --chmod=u=rwX,go=rX src /src
CMD ["stat", "-c", "%a %n", "/src/lib", "/src/main.sh", "/src/lib/greet.sh"]
# expect: 755 /src/lib
# expect: 755 /src/main.sh
# expect: 644 /src/lib/greet.sh
