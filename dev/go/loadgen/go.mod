module recsys.dev/tools/loadgen

go 1.26
