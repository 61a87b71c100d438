// Check a whole bpfcompat registry's log with none of bpfcompat's code: Go's checksum database package does the
// arithmetic, the files are read as C2SP's specifications say.
//
//	go run checklog.go REGISTRY LOG.vkey [OLD-CHECKPOINT]
//
// REGISTRY is a folder or an http(s) address. Checked: the log's signature; that the tiles lead to its root; that every
// leaf is in the tree; that the bundle of every leaf is there and says just what the leaf says was signed; and that the
// log begins with an older checkpoint, if you kept one. Exit code 1 when anything does not hold.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8 // a tile has 2^8 hashes
	most   = 32 << 20
)

var web = http.Client{Timeout: time.Minute}

// registry reads files and is a tlog.TileReader.
type registry string

func (r registry) read(path string) ([]byte, error) {
	place := strings.TrimRight(string(r), "/") + "/" + path
	if !strings.HasPrefix(place, "http://") && !strings.HasPrefix(place, "https://") {
		return os.ReadFile(place)
	}
	answer, err := web.Get(place)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", path, answer.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	if len(data) > most {
		err = fmt.Errorf("%s: more than %d bytes", path, most)
	}
	return data, err
}

func (registry) Height() int                     { return height }
func (registry) SaveTiles([]tlog.Tile, [][]byte) {}

func (r registry) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range tiles {
		// Go has the height in the path, tlog-tiles has not; the bytes are the same
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		found, err := r.read(path)
		if err != nil {
			return nil, err
		}
		if len(found) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s: %d bytes", path, len(found))
		}
		data = append(data, found)
	}
	return data, nil
}

// checkpoint is a signed note's tree, after its signature.
func checkpoint(data []byte, log note.Verifier) (tree tlog.Tree, err error) {
	opened, err := note.Open(data, note.VerifierList(log))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != log.Name() || lines[3] != "" {
		return tree, errors.New("checkpoint: expected the log's name, a size and a root")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil || strconv.FormatInt(tree.N, 10) != lines[1] || tree.N < 0 {
		return tree, fmt.Errorf("checkpoint: size %q", lines[1])
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// leaves are the entries of one entries tile.
func (r registry) leaves(size, number int64) (found [][]byte, err error) {
	tile := tlog.Tile{H: height, L: 0, N: number, W: 1 << height}
	if left := size - number<<height; left < int64(tile.W) {
		tile.W = int(left)
	}
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", height), "tile/entries/", 1)
	data, err := r.read(path)
	if err != nil {
		return nil, err
	}
	for len(data) >= 2 {
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			break
		}
		found, data = append(found, data[2:2+length]), data[2+length:]
	}
	if len(data) != 0 || len(found) != tile.W {
		return nil, fmt.Errorf("%s: not %d entries", path, tile.W)
	}
	return found, nil
}

// named is the SHA-256 that a leaf says was signed.
func named(leaf []byte) ([]byte, error) {
	var body struct {
		Spec struct {
			HashedRekordV002 struct {
				Data struct{ Digest []byte }
			}
		}
	}
	err := json.Unmarshal(leaf, &body)
	digest := body.Spec.HashedRekordV002.Data.Digest
	if err == nil && len(digest) != sha256.Size {
		err = errors.New("a leaf without the digest of what was signed")
	}
	return digest, err
}

// bundle checks that the bundle of this digest is there and holds what was signed.
func (r registry) bundle(digest []byte) error {
	path := fmt.Sprintf("bundles/%x.json", digest)
	data, err := r.read(path)
	if err != nil {
		return err
	}
	var found struct {
		DsseEnvelope struct{ Payload, PayloadType string }
	}
	if err := json.Unmarshal(data, &found); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	kind := found.DsseEnvelope.PayloadType
	payload, err := base64.StdEncoding.DecodeString(found.DsseEnvelope.Payload)
	signed := sha256.Sum256([]byte(fmt.Sprintf("DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload)))
	if err != nil || !bytes.Equal(signed[:], digest) {
		return fmt.Errorf("%s: is not what its leaf says", path)
	}
	return nil
}

func (r registry) check(log note.Verifier, old []byte) error {
	data, err := r.read("checkpoint")
	if err != nil {
		return err
	}
	tree, err := checkpoint(data, log)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, r) // believes no tile that does not lead to the root
	for number := int64(0); number<<height < tree.N; number++ {
		leaves, err := r.leaves(tree.N, number)
		if err != nil {
			return err
		}
		if err := r.each(leaves, number<<height, hashes); err != nil {
			return err
		}
	}
	fmt.Printf("log %s: %d leaves, all in the signed tree, all with their bundle\n", log.Name(), tree.N)
	if old == nil {
		return nil
	}
	return begins(tree, hashes, log, old)
}

func (r registry) each(leaves [][]byte, first int64, hashes tlog.HashReader) error {
	var places []int64
	for i := range leaves {
		places = append(places, tlog.StoredHashIndex(0, first+int64(i)))
	}
	known, err := hashes.ReadHashes(places)
	if err != nil {
		return err
	}
	for i, leaf := range leaves {
		if tlog.RecordHash(leaf) != known[i] {
			return fmt.Errorf("leaf %d: is not the one in the tree", first+int64(i))
		}
		digest, err := named(leaf)
		if err == nil {
			err = r.bundle(digest)
		}
		if err != nil {
			return fmt.Errorf("leaf %d: %w", first+int64(i), err)
		}
	}
	return nil
}

// begins checks that the tree begins with the one of an older checkpoint.
func begins(tree tlog.Tree, hashes tlog.HashReader, log note.Verifier, old []byte) error {
	before, err := checkpoint(old, log)
	if err != nil {
		return fmt.Errorf("the older one: %w", err)
	}
	if before.N > tree.N {
		return fmt.Errorf("rollback: %d leaves now, %d in the older checkpoint", tree.N, before.N)
	}
	if before.N > 0 {
		proof, err := tlog.ProveTree(tree.N, before.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash); err != nil {
			return fmt.Errorf("fork: does not begin with the %d leaves of the older checkpoint: %w", before.N, err)
		}
	}
	fmt.Printf("and begins with the %d leaves of the older checkpoint\n", before.N)
	return nil
}

func main() {
	if len(os.Args) != 3 && len(os.Args) != 4 {
		fail(errors.New("usage: checklog REGISTRY LOG.vkey [OLD-CHECKPOINT]"))
	}
	text, err := os.ReadFile(os.Args[2])
	fail(err)
	log, err := note.NewVerifier(strings.TrimSpace(string(text)))
	fail(err)
	var old []byte
	if len(os.Args) == 4 {
		old, err = os.ReadFile(os.Args[3])
		fail(err)
	}
	fail(registry(os.Args[1]).check(log, old))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "checklog:", err)
		os.Exit(1)
	}
}
