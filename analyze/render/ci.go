package render

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"strings"

	"whichbackend/analyze/check"
	"whichbackend/analyze/resolve"
)

// githubText keeps a text inside one workflow command of GitHub Actions.
func githubText(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(Clean(s))
}

// githubProperty keeps a text inside one property of a workflow command.
func githubProperty(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(githubText(s))
}

// GitHubError is a workflow command of GitHub Actions that marks a file.
func GitHubError(file, text string) string {
	return "::error file=" + githubProperty(file) + "::" + githubText(text)
}

// Suite is one suite of JUnit's XML, as CI systems read it.
type Suite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []SuiteCase `xml:"testcase"`
}

// SuiteCase is one case of a suite: met, failed or skipped.
type SuiteCase struct {
	Class   string  `xml:"classname,attr"`
	Name    string  `xml:"name,attr"`
	Failure *Reason `xml:"failure,omitempty"`
	Skipped *Reason `xml:"skipped,omitempty"`
}

// Reason is why a case failed or was skipped.
type Reason struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Failed makes the reason of a failure of lines, none of which can bring its own.
func Failed(lines []string) *Reason {
	var b strings.Builder
	for _, s := range lines {
		b.WriteString(Clean(s) + "\n")
	}
	return &Reason{Message: Clean(lines[0]), Text: b.String()}
}

// Add adds a case and counts it.
func (s *Suite) Add(class, name string, failure, skipped *Reason) {
	s.Tests++
	if failure != nil {
		s.Failures++
	}
	if skipped != nil {
		s.Skipped++
	}
	s.Cases = append(s.Cases, SuiteCase{Clean(class), Clean(name), failure, skipped})
}

// JUnit writes a suite.
func JUnit(w io.Writer, s *Suite) error {
	text, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(xml.Header + string(text) + "\n"))
	return err
}

// junitFindings has a case for each rule: failed with its findings, or skipped
// where the rule had nothing to look at.
func junitFindings(r *check.Result) *Suite {
	s := &Suite{Name: "whichbackend check"}
	unjudged := map[string]string{}
	for _, u := range r.Unjudged {
		unjudged[u.ID] = u.Needs
	}
	for _, rule := range check.Rules {
		var lines []string
		for i := range r.Findings {
			if f := &r.Findings[i]; f.ID == rule.ID {
				lines = append(lines, string(f.Severity)+": "+f.Title)
				for _, e := range f.Evidence {
					lines = append(lines, "  "+position(e)+": "+e.Text)
				}
			}
		}
		var failure, skipped *Reason
		if len(lines) > 0 {
			failure = Failed(lines)
		} else if needs, ok := unjudged[rule.ID]; ok {
			skipped = &Reason{Message: Clean("needs " + needs)}
		}
		s.Add("whichbackend", rule.ID, failure, skipped)
	}
	return s
}

// The parts of SARIF 2.1.0 (OASIS) that a check says.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string       `json:"id"`
		Short   sarifText    `json:"shortDescription"`
		Full    sarifText    `json:"fullDescription"`
		Help    sarifText    `json:"help"`
		HelpURI string       `json:"helpUri,omitempty"`
		Default sarifDefault `json:"defaultConfiguration"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Related      []sarifLocation   `json:"relatedLocations,omitempty"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		ID       int           `json:"id,omitempty"`
		Physical sarifPhysical `json:"physicalLocation"`
		Message  *sarifText    `json:"message,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line    int        `json:"startLine"`
		Snippet *sarifText `json:"snippet,omitempty"`
	}
)

var sarifLevels = map[check.Severity]string{check.Error: "error", check.Warning: "warning", check.Info: "note"}

// sarif is a result as a SARIF log. The first line of evidence is where a
// finding is; the others are related.
func sarif(r *check.Result) *sarifLog {
	name, version, _ := strings.Cut(r.Tool, " ")
	driver := sarifDriver{Name: orElse(name, "whichbackend"), Version: version, Rules: []sarifRule{}}
	index := map[string]int{}
	for i, rule := range check.Rules {
		index[rule.ID] = i
		s := sarifRule{ID: rule.ID, Short: sarifText{rule.Finds}, Full: sarifText{oneLine(rule.Why)}, Help: sarifText{oneLine(rule.Do)}, Default: sarifDefault{sarifLevels[rule.Severity]}}
		if len(rule.See) > 0 {
			s.HelpURI = rule.See[0]
		}
		driver.Rules = append(driver.Rules, s)
	}
	run := sarifRun{Tool: sarifTool{driver}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	for i := range r.Findings {
		f := &r.Findings[i]
		s := sarifResult{RuleID: f.ID, RuleIndex: index[f.ID], Level: orElse(sarifLevels[f.Severity], "note"), Message: sarifText{f.Title + ". " + oneLine(f.Why)},
			Locations: []sarifLocation{}, Fingerprints: map[string]string{"whichbackend/v1": fingerprint(f)}}
		for n, e := range f.Evidence {
			l := sarifPlace(e)
			if n == 0 {
				s.Locations = append(s.Locations, l)
				continue
			}
			l.ID = n
			s.Related = append(s.Related, l)
		}
		run.Results = append(run.Results, s)
	}
	return &sarifLog{Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func sarifPlace(e resolve.Evidence) sarifLocation {
	l := sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{(&url.URL{Path: e.Artifact}).EscapedPath()}}}
	if e.Line > 0 {
		l.Physical.Region = &sarifRegion{Line: e.Line, Snippet: &sarifText{e.Text}}
	} else if e.Packet > 0 || e.Pointer != "" {
		l.Message = &sarifText{strings.TrimPrefix(position(e), e.Artifact) + " " + e.Text}
	}
	return l
}

// fingerprint stays the same for one problem over several checks: it is made
// of the rule and of what the finding concerns, not of its numbers.
func fingerprint(f *check.Finding) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", f.ID)
	for _, o := range f.Objects {
		fmt.Fprintf(h, " %q", []string{o.Kind, o.Namespace, o.Name, o.Address, o.Host})
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}
