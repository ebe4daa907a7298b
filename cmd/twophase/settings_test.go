package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-bcc3c603/twophase/pool"
)

func TestCommandLineThatCannotBeRightIsRefusedWithWhatWouldBe(t *testing.T) {
	t.Parallel()
	const address = "http://localhost:8081/"
	for name, test := range map[string]struct {
		args []string
		says []string
	}{
		"nothing":            {nil, []string{`no command is given: "twophase help" lists them`}},
		"another command":    {[]string{"verfy"}, []string{`there is no command "verfy"`}},
		"no address":         {[]string{"verify", "-kind", "a"}, []string{"no address is given: http://host/base or grpc://host:port"}},
		"no kind":            {[]string{"verify", address}, []string{"-kind is missing"}},
		"no address or kind": {[]string{"verify"}, []string{"-kind is missing", "no address is given"}},
		"an empty kind":      {[]string{"verify", address, "-kind", ""}, []string{"it must have 1 to 1024 bytes"}},
		"a kind twice":       {[]string{"verify", address, "-kind", "a", "-kind", "a"}, []string{"it is given twice"}},
		"a mistyped flag":    {[]string{"verify", "-kin", "a", address}, []string{"there is no flag -kin: is it -kind? See -help"}},
		"another mistyped":   {[]string{"verify", "--timeot", "1s", address}, []string{"is it -timeout?"}},
		"an unknown flag":    {[]string{"verify", "-frobnicate", address}, []string{"there is no flag -frobnicate; see -help"}},
		"a flag at the end":  {[]string{"verify", address, "-kinds", "a"}, []string{"is it -kind?"}},
		"no duration":        {[]string{"verify", "-hold", "soon", address}, []string{`invalid value "soon" for flag -hold`, "see -help"}},
		"no hold":            {[]string{"verify", "-kind", "a", "-hold", "1ms", address}, []string{"-hold 1ms: it must be from 50ms to 1m0s"}},
		"long is too short":  {[]string{"verify", "-kind", "a", "-long", "30s", address}, []string{"-long 30s: it must be from 1m0s to 24h0m0s"}},
		"no timeout":         {[]string{"verify", "-kind", "a", "-timeout", "0s", address}, []string{"-timeout 0s: it must be from 1ms to 5m0s"}},
		"no regexp":          {[]string{"verify", "-run", "(", address}, []string{"-run", "missing closing"}},
		"a regexp of none":   {[]string{"verify", "-kind", "a", "-run", "xyzzy", address}, []string{"-run xyzzy matches no promise: -list shows them"}},
		"no scheme":          {[]string{"verify", "-kind", "a", "localhost:8081"}, []string{`address "localhost:8081": it must begin with http://, https://, grpc:// or grpcs://`}},
		"another scheme":     {[]string{"verify", "-kind", "a", "ftp://host"}, []string{"it must begin with http://"}},
		"no URL":             {[]string{"verify", "-kind", "a", "http://[::1"}, []string{"it is no URL"}},
		"a query":            {[]string{"verify", "-kind", "a", "http://host/?a=b"}, []string{"neither a query nor a fragment"}},
		"gRPC without port":  {[]string{"verify", "-kind", "a", "grpc://host"}, []string{"it has no port: grpc://host:port"}},
		"gRPC with a path":   {[]string{"verify", "-kind", "a", "grpc://host:1/base"}, []string{"it must be nothing but grpc://host:port"}},
		"TLS without TLS":    {[]string{"verify", "-kind", "a", "-ca", "ca.pem", address}, []string{"-ca, -cert and -key need https:// or grpcs://"}},
		"half a key pair":    {[]string{"verify", "-kind", "a", "-cert", "c.pem", "https://host"}, []string{"-cert and -key go together"}},
		"no such file":       {[]string{"verify", "-kind", "a", "-ca", "no-such.pem", "https://host"}, []string{"-ca: open no-such.pem"}},
		"no certificate":     {[]string{"verify", "-kind", "a", "-ca", "main.go", "grpcs://host:1"}, []string{"-ca main.go: there is no certificate"}},
		"no key pair":        {[]string{"verify", "-kind", "a", "-cert", "main.go", "-key", "main.go", "https://host"}, []string{"-cert and -key: "}},
		"no header":          {[]string{"verify", "-header", "Bearer", address}, []string{`it must be "Name: value"`}},
		"two headers":        {[]string{"verify", "-header", "a: b\r\nc: d", address}, []string{`it must be "Name: value"`}},
		"a payload of text":  {[]string{"verify", "-payload", "dosa", address}, []string{"filled in it is no JSON: dosa"}},
		"another place":      {[]string{"verify", "-payload", `"{{food}}"`, address}, []string{"{{food}} is no place that is filled: there are {{kind}} and {{count}}"}},
		"no several":         {[]string{"verify", "-kind", "a", "-payload", `"{{kind}}"`, address}, []string{"-several is missing", "-different is missing"}},
		"several of one":     {[]string{"verify", "-kind", "a", "-several", `"{{kind}}"`, address}, []string{"it must have a {{count}}"}},
		"the same":           {[]string{"verify", "-kind", "a", "-different", `{"kind": "{{kind}}", "count": 1}`, address}, []string{"it must differ from -payload"}},
		"single, the same":   {[]string{"verify", "-kind", "a", "-single", address}, []string{"-different is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := twophaseCommand(t, test.args...)
			assert.Equal(t, exitUsage, status)
			assert.Empty(t, stdout)
			for _, says := range test.says {
				assert.Contains(t, stderr, says)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"-help"}, {"verify", "-help"}, {"verify", "-h"}} {
		status, stdout, stderr := twophaseCommand(t, args...)
		assert.Equal(t, exitKept, status)
		assert.Contains(t, stdout, "usage: twophase")
		assert.Empty(t, stderr)
	}
	_, stdout, _ := twophaseCommand(t, "verify", "-help")
	assert.Contains(t, stdout, "needs at least 22 free ones of each")
	assert.Contains(t, stdout, "Exit status: 0 if every promise is kept, 1 if one is broken, 2 if")
}

func TestPayloadIsTheServicesOwn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		template, kind string
		count          int
		want           string
	}{
		"the default":            {defaultPayload, "masala dosa", 2, `{"kind":"masala dosa","count":2}`},
		"a kind to be escaped":   {defaultPayload, `a "b" \ c`, 1, `{"kind":"a \"b\" \\ c","count":1}`},
		"a kind within text":     {`{"sku":"food/{{kind}}"}`, "dosa", 1, `{"sku":"food/dosa"}`},
		"space in the places":    {`{"f":"{{ kind }}","n":{{ count }}}`, "dosa", 3, `{"f":"dosa","n":3}`},
		"a kind like a place":    {defaultPayload, "{{count}}", 1, `{"kind":"{{count}}","count":1}`},
		"only the kind":          {`"{{kind}}"`, "dosa", 1, `"dosa"`},
		"braces that are JSON":   {`{"a":{"b":{}},"n":{{count}}}`, "dosa", 1, `{"a":{"b":{}},"n":1}`},
		"a kind that ends in \"": {`"{{kind}}"`, `2"`, 1, `"2\""`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, string(template(test.template).fill(test.kind, test.count)))
		})
	}
}

func TestServiceWithPayloadsOfItsOwnIsVerified(t *testing.T) {
	t.Parallel()
	type packet struct {
		Food    string `json:"food"`
		Chutney bool   `json:"chutney"`
	}
	p, err := pool.New(pool.For(func(p packet) pool.Want { return pool.Want{Kind: p.Food} }))
	require.NoError(t, err)
	require.NoError(t, p.Restock("dosa", "packet-1", "packet-2", "packet-3"))
	status, stdout, _ := twophaseCommand(t, "verify", serveHTTP(t, p), "-kind", "dosa", "-single",
		"-run", "payload|several|tombstone", "-hold", "200ms",
		"-payload", `{"food":"{{kind}}"}`, "-different", `{"food":"{{kind}}","chutney":true}`)
	assert.Equal(t, exitKept, status, stdout)
	assert.Contains(t, stdout, "13 promises: 6 kept, 7 skipped\n")
}

func TestHeadersAreSentAndNotShown(t *testing.T) {
	t.Parallel()
	const secret = "Bearer opensesame"
	handler := requiringAuthorization(t, secret, forgetsTombstones(3))
	args := []string{"verify", "-kind", "verify", "-run", "^Release of a new key leaves a tombstone$", "-v"}

	status, _, stderr := twophaseCommand(t, append(args, handler)...)
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "it wants to know who calls")

	status, stdout, _ := twophaseCommand(t, append(args, handler, "-header", "Authorization: "+secret)...)
	assert.Equal(t, exitBroken, status)
	assert.NotContains(t, stdout, "opensesame")

	withPassword := strings.Replace(handler, "http://", "http://user:swordfish@", 1)
	_, stdout, _ = twophaseCommand(t, append(args, withPassword, "-header", "Authorization: "+secret)...)
	assert.Contains(t, stdout, "BROKEN")
	assert.NotContains(t, stdout, "swordfish")
}
