// Package process tells what this process takes of the machine. What the system
// does not tell is 0.
package process
