package meshloom_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSnippetsOfTheReadme holds that a whole program compiles and that every other snippet stands in a tested example.
func TestSnippetsOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples strings.Builder
	files, err := filepath.Glob("examples/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples.Write(text)
	}
	programs := 0
	for _, block := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1) {
		snippet := block[1]
		first, _, _ := strings.Cut(snippet, "\n")
		switch {
		case strings.HasPrefix(snippet, "package "):
			programs++
			compile(t, snippet)
		case !strings.Contains(examples.String(), snippet):
			t.Errorf("the snippet that begins with %q stands in no file of examples", first)
		}
	}
	if programs != 1 {
		t.Errorf("%d whole programs, want the first node", programs)
	}
}

// compile builds a program as if it stood in this module.
func compile(t *testing.T, program string) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	main := filepath.Join(folder, "main.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "readme", "main.go"): main}})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{main: []byte(program), main + ".json": overlay} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := exec.Command("go", "build", "-overlay", main+".json", "-o", filepath.Join(folder, "node"), "./readme").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
