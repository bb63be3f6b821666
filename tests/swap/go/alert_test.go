package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meshloom/meshloom/sdks/go"
	"github.com/meshloom/meshloom/sdks/go/meshloomtest"
)

var anomaly = map[string]any{"sensor": "alpha", "celsius": 41.5, "time": "2010-01-01T08:00:00Z", "prediction": "anomaly", "score": 0.75}

func TestAlertPosts(t *testing.T) {
	var got struct{ Text string }
	var key string
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Idempotency-Key")
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
	}))
	defer webhook.Close()
	t.Setenv("SLACK_WEBHOOK_URL", webhook.URL)
	r := meshloomtest.Run(t, meshloom.NewWith("alert", newAlert), anomaly)
	if len(r.Dropped) != 1 || got.Text != "Temperature anomaly at alpha: 41.50 °C at 2010-01-01T08:00:00Z (score 0.750)" || key != strings.Repeat("0", 31)+"1" {
		t.Errorf("got %+v, posted %q with key %q", r, got.Text, key)
	}
}

func TestAlertVerdicts(t *testing.T) {
	status, header := 0, ""
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		http.Error(w, "because", status)
	}))
	defer webhook.Close()
	t.Setenv("SLACK_WEBHOOK_URL", webhook.URL)
	for _, c := range []struct {
		status int
		header string
		after  time.Duration
	}{{429, "7", 7 * time.Second}, {503, "", 0}, {500, "soon", 0}} {
		status, header = c.status, c.header
		r := meshloomtest.Run(t, meshloom.NewWith("alert", newAlert), anomaly)
		if len(r.Retried) != 1 || r.Retried[0].RetryAfter != c.after || !strings.Contains(r.Retried[0].Message, "because") {
			t.Errorf("%d: got %+v", c.status, r)
		}
	}
	status, header = 404, ""
	if r := meshloomtest.Run(t, meshloom.NewWith("alert", newAlert), anomaly); len(r.Rejected) != 1 || r.Rejected[0].Reason != "WEBHOOK_REFUSED" {
		t.Errorf("404: got %+v", r)
	}
	webhook.Close()
	r := meshloomtest.Run(t, meshloom.NewWith("alert", newAlert), anomaly)
	if len(r.Retried) != 1 || strings.Contains(r.Retried[0].Message, webhook.URL) {
		t.Errorf("unreachable: got %+v", r)
	}
}

func TestAlertNeedsItsURL(t *testing.T) {
	t.Setenv("SLACK_WEBHOOK_URL", "")
	if _, err := newAlert(t.Context(), alertConfig{}); err == nil || !strings.Contains(err.Error(), "set SLACK_WEBHOOK_URL") {
		t.Errorf("got %v", err)
	}
	t.Setenv("SLACK_WEBHOOK_URL", "hooks.example")
	if _, err := newAlert(t.Context(), alertConfig{}); err == nil || !strings.Contains(err.Error(), "no http") {
		t.Errorf("got %v", err)
	}
}

func TestRetryAfterDate(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	header := http.Header{"Retry-After": {now.Add(time.Minute).Format(http.TimeFormat)}}
	if got := retryAfter(header, now); got != time.Minute {
		t.Errorf("got %v, want 1m", got)
	}
}
