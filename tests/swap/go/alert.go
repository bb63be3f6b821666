package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/meshloom/meshloom/sdks/go"
)

type alertConfig struct {
	Title string `json:"title" default:"Temperature" doc:"first words of the message"`
}

type prediction struct {
	Sensor     string  `json:"sensor"`
	Celsius    float64 `json:"celsius"`
	Time       string  `json:"time"`
	Prediction string  `json:"prediction"`
	Score      float64 `json:"score"`
}

// newAlert makes a sink that posts each event to the webhook of SLACK_WEBHOOK_URL.
func newAlert(_ context.Context, cfg alertConfig) (meshloom.SinkHandler, error) {
	target := os.Getenv("SLACK_WEBHOOK_URL")
	if target == "" {
		return meshloom.SinkHandler{}, meshloom.InvalidConfig("env.SLACK_WEBHOOK_URL", "is not set: set SLACK_WEBHOOK_URL to the URL of a Slack-compatible incoming webhook")
	}
	if u, err := url.Parse(target); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return meshloom.SinkHandler{}, meshloom.InvalidConfig("env.SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL is no http or https URL")
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}}
	stop := func() error { client.CloseIdleConnections(); return nil }
	return meshloom.OnStop(meshloom.Sink(func(ctx context.Context, p prediction) error {
		body, err := json.Marshal(map[string]string{"text": message(cfg.Title, p)})
		if err != nil {
			return err
		}
		return post(ctx, client, target, body)
	}), stop), nil
}

func message(title string, p prediction) string {
	return fmt.Sprintf("%s %s at %s: %.2f °C at %s (score %.3f)", title, p.Prediction, p.Sensor, p.Celsius, p.Time, p.Score)
}

// post sends one message; the webhook can recognise a repeated delivery by its Idempotency-Key.
func post(ctx context.Context, client *http.Client, target string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", meshloom.EventFrom(ctx).UID().String())
	response, err := client.Do(request)
	if err != nil {
		return meshloom.Retry(fmt.Errorf("the webhook cannot be reached: %w", withoutURL(err)))
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, 512)) // only for the message
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	switch code := response.StatusCode; {
	case code == http.StatusTooManyRequests || code >= 500:
		return meshloom.RetryAfter(retryAfter(response.Header, time.Now()), fmt.Errorf("the webhook answered %d: %s", code, said))
	case code >= 300:
		return meshloom.Rejectf("WEBHOOK_REFUSED", "the webhook answered %d: %s", code, said)
	}
	return nil
}

// withoutURL keeps the webhook's URL, which is a secret, out of messages.
func withoutURL(err error) error {
	if wrapped, ok := err.(*url.Error); ok {
		return wrapped.Err
	}
	return err
}

// retryAfter reads the header Retry-After, seconds or a date; 0 without one.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, 86_400) * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
