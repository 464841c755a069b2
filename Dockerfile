# One static program to an image, and nothing else: no shell, no package, no certificates. docs/docker.md.
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-X main.version=${VERSION}" -o /out/ ./cmd/quorate ./cmd/quorate-sandbox
# Empty directories: a new volume takes owner and mode of the one that it is mounted at.
RUN mkdir -p /dirs/etc/quorate /dirs/var/lib/quorate /dirs/init/gate /dirs/init/database \
  /dirs/init/perspectives/ashburn /dirs/init/perspectives/sao-paulo /dirs/init/perspectives/johannesburg \
  /dirs/init/perspectives/singapore /dirs/init/perspectives/stockholm

# The sandbox opens doors that the gate does not have: it has an image of its own.
FROM scratch AS quorate-sandbox
COPY --from=build /out/quorate-sandbox /quorate-sandbox
USER 65532:65532
ENTRYPOINT ["/quorate-sandbox"]

FROM scratch AS quorate
COPY --from=build /out/quorate /quorate
COPY --from=build --chown=65532:65532 /dirs/ /
USER 65532:65532
ENTRYPOINT ["/quorate"]
