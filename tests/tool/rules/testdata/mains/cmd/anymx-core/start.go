// Command anymx-core hides its main.
package main

func main() {}
