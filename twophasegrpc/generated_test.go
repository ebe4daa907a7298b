package twophasegrpc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seed-bcc3c603/twophase/twophasegrpc"
	"github.com/seed-bcc3c603/twophase/twophasegrpc/twophasev1"
)

const contract = "twophase/v1/participant.proto"

// generated are the files that buf makes of the contract.
var generated = []string{"twophasev1/participant.pb.go", "twophasev1/participant_grpc.pb.go"}

func TestTheGeneratedCodeIsThatOfTheContract(t *testing.T) {
	t.Parallel()
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"proto"}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(t.Context(), contract)
	require.NoError(t, err)
	file := files.FindFileByPath(contract)
	want, got := protodesc.ToFileDescriptorProto(file), protodesc.ToFileDescriptorProto(twophasev1.File_twophase_v1_participant_proto)
	want.SourceCodeInfo = nil
	assert.True(t, proto.Equal(want, got), "run go generate: the code has\n%v\nthe contract has\n%v", got, want)

	var code strings.Builder
	for _, name := range generated {
		code.WriteString(read(t, name))
	}
	for i := range file.SourceLocations().Len() {
		location := file.SourceLocations().Get(i)
		if isOfOptions(location.Path) {
			continue
		}
		for line := range strings.Lines(location.LeadingComments) {
			if line = strings.TrimSpace(line); line != "" {
				assert.Contains(t, code.String(), line, "run go generate: a comment of the contract is not in the code")
			}
		}
	}
}

// isOfOptions reports whether a comment is one that generated code leaves out.
func isOfOptions(path protoreflect.SourcePath) bool {
	const options = 8 // of a file
	return len(path) > 0 && path[0] == options
}

func TestTheGeneratedCodeIsOfThePluginsThatAreNamed(t *testing.T) {
	t.Parallel()
	plugins := regexp.MustCompile(`(protoc-gen-go(?:-grpc)?)@(v[0-9.]+)`).FindAllStringSubmatch(read(t, "buf.gen.yaml"), -1)
	require.Len(t, plugins, len(generated))
	for i, plugin := range plugins {
		made := regexp.MustCompile(`(?m)^// [-\s]*` + plugin[1] + `\s+(v[0-9.]+)$`).FindStringSubmatch(read(t, generated[i]))
		require.Len(t, made, 2, generated[i])
		assert.Equal(t, plugin[2], made[1], "run go generate")
	}
}

func TestTheServiceIsNamedAsInTheContract(t *testing.T) {
	t.Parallel()
	assert.Equal(t, twophasegrpc.ServiceName, twophasev1.ParticipantService_ServiceDesc.ServiceName)
}

// Building buf takes minutes, so this is for those who change the contract.
func TestBufFindsNothingToSayAndGeneratesTheSame(t *testing.T) {
	t.Parallel()
	if os.Getenv("TWOPHASE_BUF") == "" {
		t.Skip("set TWOPHASE_BUF=1 to build and run buf")
	}
	out := t.TempDir()
	buf(t, "lint")
	buf(t, "format", "--diff", "--exit-code")
	buf(t, "generate", "--output", out)
	for _, name := range generated {
		assert.Equal(t, read(t, filepath.Join(out, name)), read(t, name), "run go generate")
	}
}

// buf runs the buf that "go generate" runs.
func buf(t *testing.T, arguments ...string) {
	t.Helper()
	command := regexp.MustCompile(`(?m)^//go:generate (go run .*buf@v[0-9.]+) generate$`).FindStringSubmatch(read(t, "doc.go"))
	require.Len(t, command, 2, "the go:generate line")
	words := append(strings.Fields(command[1]), arguments...)
	output, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

func read(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.FromSlash(name))
	require.NoError(t, err)
	return string(content)
}
