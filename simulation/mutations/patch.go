package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

//go:embed patches/*.patch
var patches embed.FS

// mutation is a rule of the protocol, broken by a patch.
type mutation struct {
	name  string
	rule  string // what it does, in a sentence
	patch []byte
}

// mutations returns all of them, by name.
func mutations() ([]mutation, error) {
	files, err := patches.ReadDir("patches")
	if err != nil {
		return nil, err
	}
	all := make([]mutation, 0, len(files))
	for _, file := range files {
		patch, err := patches.ReadFile(path.Join("patches", file.Name()))
		if err != nil {
			return nil, err
		}
		rule, _, _ := strings.Cut(string(patch), "\n")
		all = append(all, mutation{name: strings.TrimSuffix(file.Name(), ".patch"), rule: rule, patch: patch})
	}
	return all, nil
}

// touches returns the files that the patch changes.
func (m mutation) touches() (files []string) {
	for line := range strings.Lines(string(m.patch)) {
		if file, ok := strings.CutPrefix(line, "+++ b/"); ok {
			files = append(files, strings.TrimSpace(file))
		}
	}
	return files
}

// apply patches a copy in dir of the files that it touches, and returns the
// name of the file that tells the go command to build with them.
func (m mutation) apply(ctx context.Context, root, dir string) (overlay string, err error) {
	replace := map[string]string{}
	for _, file := range m.touches() {
		original := filepath.Join(root, file)
		content, err := os.ReadFile(original)
		if err != nil {
			return "", err
		}
		mutated := filepath.Join(dir, file)
		if err := os.WriteFile(mutated, content, 0o600); err != nil {
			return "", err
		}
		replace[original] = mutated
	}
	if err := m.git(ctx, dir); err != nil {
		return "", err
	}
	encoded, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, encoded, 0o600)
}

func (m mutation) git(ctx context.Context, dir string) error {
	git := exec.CommandContext(ctx, "git", "apply", "--whitespace=nowarn", "-")
	git.Dir, git.Stdin = dir, bytes.NewReader(m.patch)
	// A repository around dir is none of git's business.
	git.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := git.CombinedOutput(); err != nil {
		return fmt.Errorf("the patch %s does not apply: %w\n%s", m.name, err, out)
	}
	return nil
}

// root returns the folder of the module.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Module.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find the module: run it from inside the repository: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

const module = "github.com/seed-bcc3c603/twophase"
