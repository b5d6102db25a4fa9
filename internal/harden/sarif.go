package harden

import (
	"encoding/json"
	"io"
	"net/url"
	"slices"

	"github.com/metalward/metalward/internal/guard"
)

// What of SARIF 2.1.0 a report needs. Source: OASIS, Static Analysis Results Interchange Format Version 2.1.0, sections 3.13 to 3.52.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Automation  *sarifAutomation  `json:"automationDetails,omitempty"`
		Invocations []sarifInvocation `json:"invocations"`
		ColumnKind  string            `json:"columnKind"`
		Results     []sarifResult     `json:"results"`
	}
	sarifAutomation struct {
		ID string `json:"id"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifInvocation struct {
		Successful    bool        `json:"executionSuccessful"`
		EndTime       string      `json:"endTimeUtc,omitempty"`
		Notifications []sarifNote `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNote struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifRule struct {
		ID         string         `json:"id"`
		Short      sarifText      `json:"shortDescription"`
		Full       sarifText      `json:"fullDescription"`
		Help       sarifText      `json:"help"`
		HelpURI    string         `json:"helpUri,omitempty"`
		Default    sarifLevel     `json:"defaultConfiguration"`
		Properties map[string]any `json:"properties"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Kind         string             `json:"kind"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations,omitempty"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
		Properties   map[string]any     `json:"properties"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
)

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// levels are SARIF's of a severity, kinds those of a state.
var (
	levels = map[guard.Severity]string{guard.Critical: "error", guard.High: "error", guard.Medium: "warning", guard.Low: "note"}
	kinds  = map[guard.State]string{guard.Fail: "fail", guard.Unchecked: "open", guard.Pass: "pass", guard.NotApplicable: "notApplicable"}
)

func writeSARIF(w io.Writer, r *Report) error { return writeRuns(w, []sarifRun{runOf(r)}) }

func writeRuns(w io.Writer, runs []sarifRun) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: runs})
}

// writeSARIF has a run for each host. Source: section 3.17, run automation details, for what tells runs apart.
func (f *Fleet) writeSARIF(w io.Writer) error {
	runs := []sarifRun{}
	for _, h := range f.Hosts {
		run := sarifRun{Tool: sarifTool{sarifDriver{Name: "metalward", Rules: []sarifRule{}}}, ColumnKind: "utf16CodeUnits", Results: []sarifResult{},
			Invocations: []sarifInvocation{{Notifications: []sarifNote{{"error", sarifText{h.Error}}}}}}
		if h.Report != nil {
			run = runOf(h.Report)
		}
		run.Automation = &sarifAutomation{"metalward/harden/" + h.Host + "/"}
		runs = append(runs, run)
	}
	return writeRuns(w, runs)
}

func runOf(r *Report) sarifRun {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: r.Tool.Name, Version: r.Tool.Version, Rules: []sarifRule{}}}, ColumnKind: "utf16CodeUnits", Results: []sarifResult{},
		Invocations: []sarifInvocation{{Successful: true, EndTime: r.Time.Format("2006-01-02T15:04:05Z")}}}
	for _, n := range r.Notes {
		run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, sarifNote{"warning", sarifText{n}})
	}
	for _, n := range r.Remarks {
		run.Invocations[0].Notifications = append(run.Invocations[0].Notifications, sarifNote{"note", sarifText{n}})
	}
	for _, c := range r.Checks {
		rule := sarifRule{ID: c.ID, Short: sarifText{c.Title + "."}, Full: sarifText{c.Why}, Help: sarifText{"Fix: " + c.Fix + "\nRisk: " + c.Risk + "\nUndo: " + c.Undo},
			Default: sarifLevel{levels[c.Severity]}, Properties: map[string]any{"tags": []string{c.Group}, "severity": c.Severity}}
		if len(c.References) > 0 {
			rule.HelpURI = c.References[0].URL
		}
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule)
	}
	for _, f := range r.Findings {
		text := f.Title + "."
		if f.Subject != "" {
			text += " " + f.Subject + ":"
		}
		for _, e := range f.Evidence {
			text += " " + e
		}
		one := sarifResult{RuleID: f.Check, RuleIndex: slices.IndexFunc(r.Checks, func(c Check) bool { return c.ID == f.Check }), Kind: kinds[f.State], Level: "none",
			Message: sarifText{text}, Fingerprints: map[string]string{"metalward/v1": f.ID},
			Properties: map[string]any{"product": f.Product, "severity": f.Severity, "fix": f.Fix, "undo": f.Undo, "known": f.Known}}
		if f.State == guard.Fail {
			one.Level = levels[f.Severity] // section 3.27.10: other kinds have none
		}
		if at := f.fromCatalog.Subject; len(at) > 0 && at[0] == '/' {
			one.Locations = []sarifLocation{{sarifPhysical{sarifArtifact{(&url.URL{Scheme: "file", Path: at}).String()}}}}
		}
		if f.Waiver != nil {
			one.Suppressions = []sarifSuppression{{"external", "accepted", f.Waiver.Owner + ", until " + f.Waiver.Until + ": " + f.Waiver.Reason}}
		}
		run.Results = append(run.Results, one)
	}
	return run
}
