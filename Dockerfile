# The daemon alone, in an image without anything else:
#
#   docker build -t wpd .
#   docker run -v wpd:/var/lib/wpd -p 127.0.0.1:7070:7070 wpd \
#     serve --bucket file:///var/lib/wpd/objects --listen 0.0.0.0:7070 --insecure
#
# There is no TLS yet: --insecure says that whoever reaches the port may do
# everything, so publish it to a loopback or private address only.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build && mkdir -p /empty

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/bin/wpd /wpd
COPY --from=build --chown=65532:65532 /empty /tmp
COPY --from=build --chown=65532:65532 /empty /var/lib/wpd
USER 65532:65532
ENV WPD_DATA_DIR=/var/lib/wpd/node
VOLUME /var/lib/wpd
EXPOSE 7070 7073
# The daemon drains on SIGTERM; give it more than its close timeout of 30 s
# with docker stop -t 45.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/wpd"]
CMD ["serve", "--help"]
