// What Go's checksum database package (golang.org/x/mod/sumdb) says of our notes, proofs and tiles.
//
// A question is a line of JSON on stdin, its answer a line of JSON on stdout, in the same order.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type question struct {
	Op    string
	Vkeys []string
	Note  []byte
	Dir   string
	Size  int64
	Root  []byte
	Index int64
	Leaf  []byte // the bytes of a leaf, which Go hashes itself
	Old   int64
	Was   []byte
	Proof [][]byte
}

type answer struct {
	Error       string   `json:"error"`
	Text        []byte   `json:"text,omitempty"`
	Signers     []string `json:"signers,omitempty"`
	Inclusion   [][]byte `json:"inclusion,omitempty"`
	Consistency [][]byte `json:"consistency,omitempty"`
}

// tiles reads our files for Go, which puts the height into a path where we have nothing.
type tiles struct{ dir string }

func (tiles) Height() int                     { return height }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range wanted {
		whole := tile
		whole.W = 1 << height
		found, err := os.ReadFile(t.path(tile))
		if err != nil {
			found, err = os.ReadFile(t.path(whole))
		}
		if err != nil {
			return nil, err
		}
		if len(found) > tile.W*tlog.HashSize {
			found = found[:tile.W*tlog.HashSize]
		}
		data = append(data, found)
	}
	return data, nil
}

func (t tiles) path(tile tlog.Tile) string {
	return filepath.Join(t.dir, strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1))
}

func hash(data []byte) (h tlog.Hash) {
	if len(data) != tlog.HashSize {
		panic("a hash of another length")
	}
	copy(h[:], data)
	return h
}

func hashes(data [][]byte) (found []tlog.Hash) {
	for _, one := range data {
		found = append(found, hash(one))
	}
	return found
}

func raw(proof []tlog.Hash) (data [][]byte) {
	for _, one := range proof {
		one := one
		data = append(data, one[:])
	}
	return data
}

func open(q question, a *answer) error {
	var known []note.Verifier
	for _, text := range q.Vkeys {
		verifier, err := note.NewVerifier(text)
		if err != nil {
			return err
		}
		known = append(known, verifier)
	}
	found, err := note.Open(q.Note, note.VerifierList(known...))
	if err != nil {
		return err
	}
	a.Text = []byte(found.Text)
	for _, signature := range found.Sigs {
		a.Signers = append(a.Signers, signature.Name)
	}
	return nil
}

func prove(q question, a *answer) error {
	reader := tlog.TileHashReader(tlog.Tree{N: q.Size, Hash: hash(q.Root)}, tiles{q.Dir})
	root, err := tlog.TreeHash(q.Size, reader)
	if err != nil {
		return err
	}
	if root != hash(q.Root) {
		return fmt.Errorf("the tiles have the root %v", root)
	}
	inclusion, err := tlog.ProveRecord(q.Size, q.Index, reader)
	if err != nil {
		return err
	}
	consistency, err := tlog.ProveTree(q.Size, q.Old, reader)
	a.Inclusion, a.Consistency = raw(inclusion), raw(consistency)
	return err
}

func reply(q question) (a answer) {
	defer func() {
		if wrong := recover(); wrong != nil {
			a.Error = fmt.Sprint("panic: ", wrong)
		}
	}()
	var err error
	switch q.Op {
	case "note":
		err = open(q, &a)
	case "prove":
		err = prove(q, &a)
	case "record":
		err = tlog.CheckRecord(hashes(q.Proof), q.Size, hash(q.Root), q.Index, tlog.RecordHash(q.Leaf))
	case "tree":
		err = tlog.CheckTree(hashes(q.Proof), q.Size, hash(q.Root), q.Old, hash(q.Was))
	default:
		err = fmt.Errorf("no such question: %q", q.Op)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func main() {
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), bufio.NewWriter(os.Stdout)
	defer out.Flush()
	write := json.NewEncoder(out)
	for in.More() {
		var q question
		if err := in.Decode(&q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := write.Encode(reply(q)); err != nil {
			os.Exit(1)
		}
	}
}
