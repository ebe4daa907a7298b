module github.com/seed-bcc3c603/twophase

go 1.26.0

require github.com/cenkalti/backoff/v4 v4.3.0
