# frozen_string_literal: true

require "securerandom"

module Changeover
  # Writes rows of a change's tables through the server: all operations of a request or none, and never twice.
  class Writes
    # What one operation stored, for later ones: `ref[:id]` stands for its minted id.
    class Reference
      def initialize(operation, row = 0)
        @operation = operation
        @row = row
      end

      def [](column)
        { "operation" => @operation, "row" => @row, "column" => column.to_s }
      end

      def row(number)
        Reference.new(@operation, number)
      end
    end

    # Collects the operations of one request.
    class Operations
      attr_reader :list

      def initialize
        @list = []
      end

      def insert(table, *rows)
        add("insert" => table.to_s, "rows" => rows.flatten)
      end

      def update(table, where:, set:, if: nil)
        add({ "update" => table.to_s, "where" => where, "set" => set, "if" => binding.local_variable_get(:if) }.compact)
      end

      def upsert(table, *rows, by: nil)
        add({ "upsert" => table.to_s, "rows" => rows.flatten, "by" => by }.compact)
      end

      def delete(table, where:, if: nil)
        add({ "delete" => table.to_s, "where" => where, "if" => binding.local_variable_get(:if) }.compact)
      end

      private

      def add(operation)
        @list << operation
        Reference.new(@list.size - 1)
      end
    end

    def initialize(transport, change)
      @transport = transport
      @path = "/api/v1/changes/#{change}/writes"
    end

    # Operations as docs/writes.md has them, in one transaction; returns the server's answer. The same key is sent with each
    # attempt, so a write whose answer was lost is not done again; give your own to be safe over a restart of your process.
    def run(operations, idempotency_key: SecureRandom.uuid, dry_run: false)
      body = { "operations" => operations }
      body["dry_run"] = true if dry_run
      @transport.again(:post, @path, body, headers: { "Idempotency-Key" => idempotency_key }).json
    end

    # Yields an object that collects operations, and runs them.
    def transaction(**options)
      operations = Operations.new
      yield operations
      run(operations.list, **options)
    end

    %i[insert update upsert delete].each do |verb|
      define_method(verb) do |*arguments, idempotency_key: SecureRandom.uuid, **options|
        transaction(idempotency_key: idempotency_key) { |operations| operations.public_send(verb, *arguments, **options) }
      end
    end

    # The tables, their keys and rows, and what is writable now.
    def describe
      @transport.again(:get, @path).json
    end
  end
end
