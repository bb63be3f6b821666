package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

func lines(t *testing.T, content string, cfg map[string]any, from any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lines.txt")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg["path"] = path
	r := meshloomtest.RunSource(t, meshloomtest.SourceOptions{Config: cfg, From: from}, meshloom.NewWith("ingest", newIngest))
	if !r.Exhausted {
		t.Error("the source is not exhausted")
	}
	var got []string
	for _, o := range r.Outputs {
		if o.ContentType != "text/plain" || o.Type != "reading.raw" {
			t.Errorf("attributes of %+v", o)
		}
		got = append(got, o.Text())
	}
	return fmt.Sprintf("%s %s", strings.Join(got, ","), r.Checkpoint)
}

func TestIngest(t *testing.T) {
	for _, c := range []struct {
		name, content string
		events        int
		from          any
		want          string
	}{
		{"once", "a\n\nc\n", 0, nil, "a,,c 3"},
		{"last line without newline", "a\r\nb", 0, nil, "a,b 2"},
		{"resumed", "a\n\nc\n", 0, 2, "c 3"},
		{"looped", "a\nb\n", 5, nil, "a,b,a,b,a 5"},
		{"looped and resumed", "a\nb\n", 5, 3, "b,a 5"},
		{"fewer than the file", "a\nb\nc\n", 2, nil, "a,b 2"},
		{"done already", "a\nb\n", 2, 2, " 2"},
		{"empty file", "", 3, nil, " "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lines(t, c.content, map[string]any{"events": c.events}, c.from); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestIngestRefuses(t *testing.T) {
	for want, cfg := range map[string]ingestConfig{
		"path:":   {Path: filepath.Join(t.TempDir(), "none")},
		"folder":  {Path: t.TempDir()},
		"events:": {Path: "main.go", Events: -1},
	} {
		if _, err := newIngest(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", cfg, err, want)
		}
	}
}
