// Package telemetry wires OpenTelemetry into a node and names the spans and attributes of the SDK.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const scopeName = "github.com/meshloom/meshloom/sdks/go"

// Setup exports traces by OTLP over gRPC when OTEL_EXPORTER_OTLP_ENDPOINT is set and the application has no provider of
// its own. The function that it returns flushes and ends what it set up.
func Setup(ctx context.Context) (shutdown func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	if Configured() || !wanted(os.Getenv) {
		return nothing, nil
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nothing, fmt.Errorf("traces cannot be exported: %w; check OTEL_EXPORTER_OTLP_ENDPOINT", err)
	}
	// A partial resource comes with an error about the part that is missing, which is no reason to lose the traces.
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithProcessPID(), resource.WithFromEnv())
	if err != nil {
		slog.Warn("the OpenTelemetry resource is incomplete", slog.Any("error", err))
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	return provider.Shutdown, nil
}

// Configured tells whether somebody has set a tracer provider: OpenTelemetry's own default is the only one of its
// internal package.
func Configured() bool {
	t := reflect.TypeOf(otel.GetTracerProvider())
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return !strings.HasSuffix(t.PkgPath(), "go.opentelemetry.io/otel/internal/global")
}

func wanted(env func(string) string) bool {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") || env("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := env(name); protocol != "" && protocol != "grpc" {
			slog.Warn("traces are not exported: this SDK speaks OTLP over gRPC only", slog.String(name, protocol))
			return false
		}
	}
	return env("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// tracer is looked up per stream, so that a provider set before serving is the one used.
func tracer() trace.Tracer { return otel.GetTracerProvider().Tracer(scopeName) }
